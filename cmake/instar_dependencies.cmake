# Dependencies: what find_package knows comes first; only what is missing is fetched.
#
#     instar_dependency(Eigen3 TARGET Eigen3::Eigen VERSION 3.4 REPOSITORY … TAG … OPTIONS BUILD_TESTING=OFF)

include(FetchContent)

function(instar_dependency name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "TARGET;VERSION;REPOSITORY;TAG" "OPTIONS")
    if(TARGET ${arg_TARGET})
        return()  # the embedding project brought its own
    endif()
    # Variables of this function only: they quiet a fetched project and leave the embedding one alone.
    set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)
    foreach(option IN LISTS arg_OPTIONS)
        string(REPLACE "=" ";" pair "${option}")
        list(GET pair 0 key)
        list(GET pair 1 value)
        set(${key} ${value})
    endforeach()
    FetchContent_Declare(${name} GIT_REPOSITORY "${arg_REPOSITORY}" GIT_TAG "${arg_TAG}" GIT_SHALLOW ON
                         FIND_PACKAGE_ARGS ${arg_VERSION} GLOBAL)
    FetchContent_MakeAvailable(${name})
    if(NOT TARGET ${arg_TARGET})
        message(FATAL_ERROR "instar: ${name} was found but does not define ${arg_TARGET}")
    endif()
endfunction()

find_package(Threads REQUIRED)

instar_dependency(TBB TARGET TBB::tbb
    REPOSITORY https://github.com/uxlfoundation/oneTBB.git TAG v2021.13.0
    OPTIONS TBB_TEST=OFF TBB_STRICT=OFF)
instar_dependency(Eigen3 TARGET Eigen3::Eigen VERSION 3.4
    REPOSITORY https://gitlab.com/libeigen/eigen.git TAG 3.4.0
    OPTIONS BUILD_TESTING=OFF EIGEN_BUILD_DOC=OFF EIGEN_BUILD_PKGCONFIG=OFF)
instar_dependency(nlohmann_json TARGET nlohmann_json::nlohmann_json VERSION 3.11
    REPOSITORY https://github.com/nlohmann/json.git TAG v3.11.3
    OPTIONS JSON_BuildTests=OFF JSON_Install=ON)

# zlib is on nearly every machine: taken when it is there, never fetched.
set(INSTAR_HAVE_ZLIB OFF)
if(INSTAR_WITH_ZLIB STREQUAL "AUTO")
    find_package(ZLIB QUIET)
    set(INSTAR_HAVE_ZLIB ${ZLIB_FOUND})
elseif(INSTAR_WITH_ZLIB)
    find_package(ZLIB REQUIRED)
    set(INSTAR_HAVE_ZLIB ON)
endif()

# libzip likewise. Its own CMake package names tools that Debian keeps in another one, so header and library are looked for.
set(INSTAR_HAVE_LIBZIP OFF)
if(INSTAR_WITH_LIBZIP)
    find_path(INSTAR_LIBZIP_INCLUDE_DIR zip.h)
    find_library(INSTAR_LIBZIP_LIBRARY zip)
    mark_as_advanced(INSTAR_LIBZIP_INCLUDE_DIR INSTAR_LIBZIP_LIBRARY)
    if(INSTAR_LIBZIP_INCLUDE_DIR AND INSTAR_LIBZIP_LIBRARY)
        set(INSTAR_HAVE_LIBZIP ON)
    elseif(NOT INSTAR_WITH_LIBZIP STREQUAL "AUTO")
        message(FATAL_ERROR "INSTAR_WITH_LIBZIP is ON, but zip.h or libzip was not found (Debian: libzip-dev)")
    endif()
endif()

# libjpeg-turbo: only where it is asked for, since its pixels are not quite those of stb_image.
if(INSTAR_WITH_TURBOJPEG)
    find_path(INSTAR_TURBOJPEG_INCLUDE_DIR turbojpeg.h)
    find_library(INSTAR_TURBOJPEG_LIBRARY turbojpeg)
    mark_as_advanced(INSTAR_TURBOJPEG_INCLUDE_DIR INSTAR_TURBOJPEG_LIBRARY)
    if(NOT INSTAR_TURBOJPEG_INCLUDE_DIR OR NOT INSTAR_TURBOJPEG_LIBRARY)
        message(FATAL_ERROR "INSTAR_WITH_TURBOJPEG is ON, but turbojpeg.h or libturbojpeg was not found (Debian: libturbojpeg0-dev)")
    endif()
endif()

# CUDA: the toolkit alone makes instar::cuda; own .cu sources need nvcc as well.
set(INSTAR_ENABLE_CUDA OFF)
find_package(CUDAToolkit QUIET)
set(INSTAR_HAVE_CUDA_TOOLKIT ${CUDAToolkit_FOUND})
if(INSTAR_BUILD_CUDA STREQUAL "AUTO" OR INSTAR_BUILD_CUDA)
    include(CheckLanguage)
    check_language(CUDA)
    if(CMAKE_CUDA_COMPILER AND CUDAToolkit_FOUND)
        if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
            set(CMAKE_CUDA_ARCHITECTURES 80)
        endif()
        enable_language(CUDA)
        set(INSTAR_ENABLE_CUDA ON)
    elseif(NOT INSTAR_BUILD_CUDA STREQUAL "AUTO")
        message(FATAL_ERROR "INSTAR_BUILD_CUDA is ON, but no CUDA toolkit with nvcc was found")
    endif()
endif()
if(PROJECT_IS_TOP_LEVEL)
    message(STATUS "instar ${PROJECT_VERSION}: zlib ${INSTAR_HAVE_ZLIB}, libzip ${INSTAR_HAVE_LIBZIP}, libjpeg-turbo ${INSTAR_WITH_TURBOJPEG}, CUDA toolkit ${INSTAR_HAVE_CUDA_TOOLKIT}, own .cu sources ${INSTAR_ENABLE_CUDA}")
endif()
