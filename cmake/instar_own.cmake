# instar_own(target): flags for the project's own sources, always PRIVATE, so that no user inherits one.
# instar_own(target NATIVE): a program of ours, which follows INSTAR_NATIVE too.

function(instar_own target)
    cmake_parse_arguments(PARSE_ARGV 1 arg "NATIVE" "" "")
    set(warnings -Wall -Wextra -Wpedantic -Wconversion)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
        # At -O3 these misfire in g++ 12: string's operator+ (GCC bug 105651), vector's range insert, members of a local without pointers.
        list(APPEND warnings -Wno-restrict -Wno-stringop-overflow -Wno-dangling-pointer)
    endif()
    if(INSTAR_WERROR)
        list(APPEND warnings -Werror)
    endif()
    target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:${warnings}>")
    # nvcc's generated host code trips -Wpedantic and -Wconversion; these two are what it passes on usefully.
    target_compile_options(${target} PRIVATE "$<$<COMPILE_LANG_AND_ID:CUDA,NVIDIA>:-Xcompiler=-Wall,-Wextra>")
    if(INSTAR_WERROR)
        target_compile_options(${target} PRIVATE "$<$<COMPILE_LANG_AND_ID:CUDA,NVIDIA>:-Werror=all-warnings>")
    endif()
    if(INSTAR_SANITIZE)
        target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${INSTAR_SANITIZE};-fno-sanitize-recover=all;-fno-omit-frame-pointer>")
        target_link_options(${target} PRIVATE "-fsanitize=${INSTAR_SANITIZE}")
    endif()
    if(INSTAR_NATIVE AND arg_NATIVE)
        target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:-march=native>")
        if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
            # clang 19 warns of what its own -march=native turns on where the processor has AVX10.
            target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:-Wno-unknown-warning-option;-Wno-invalid-feature-combination>")
        endif()
    endif()
    if(INSTAR_ENABLE_CUDA)
        set_target_properties(${target} PROPERTIES CUDA_STANDARD_REQUIRED OFF)
    endif()
endfunction()
