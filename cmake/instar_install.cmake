# cmake --install, and what find_package(instar) reads.

include(CMakePackageConfigHelpers)
set(instar_config_dir "${CMAKE_INSTALL_LIBDIR}/cmake/instar")
if(NOT INSTAR_BUILD_COMPILED)
    # Headers only: the package serves every architecture.
    set(instar_config_dir "${CMAKE_INSTALL_DATADIR}/cmake/instar")
endif()

install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        FILES_MATCHING PATTERN "*.hpp" PATTERN "*.cuh" PATTERN "*.inl")
install(TARGETS instar EXPORT instar_targets)
install(EXPORT instar_targets NAMESPACE instar:: FILE instarTargets.cmake DESTINATION "${instar_config_dir}")

if(INSTAR_HAVE_CUDA_TOOLKIT)
    install(TARGETS instar_cuda EXPORT instar_cuda_targets)
    install(EXPORT instar_cuda_targets NAMESPACE instar:: FILE instarCudaTargets.cmake DESTINATION "${instar_config_dir}")
endif()
if(INSTAR_BUILD_COMPILED)
    install(TARGETS instar_compiled EXPORT instar_compiled_targets ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
    install(EXPORT instar_compiled_targets NAMESPACE instar:: FILE instarCompiledTargets.cmake DESTINATION "${instar_config_dir}")
endif()

configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/instarConfig.cmake.in" "${PROJECT_BINARY_DIR}/instarConfig.cmake"
                              INSTALL_DESTINATION "${instar_config_dir}")
if(INSTAR_BUILD_COMPILED)
    write_basic_package_version_file("${PROJECT_BINARY_DIR}/instarConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
else()
    write_basic_package_version_file("${PROJECT_BINARY_DIR}/instarConfigVersion.cmake" COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
endif()
install(FILES "${PROJECT_BINARY_DIR}/instarConfig.cmake" "${PROJECT_BINARY_DIR}/instarConfigVersion.cmake"
        DESTINATION "${instar_config_dir}")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" "${PROJECT_SOURCE_DIR}/README.md" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
