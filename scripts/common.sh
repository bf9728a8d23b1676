# shellcheck shell=bash
# What demo.sh and test.sh share: finding and installing what a fresh machine lacks.
#
#     source "$(dirname "$0")/common.sh"
#     require "g++ command g++" "libtbb-dev header oneapi/tbb/version.h"
#
# INSTAR_NO_INSTALL=1 never installs: the script says what is missing and stops.
# INSTAR_JOBS=N       builds and tests with N processes (default: all cores).

# shellcheck disable=SC2034  # used by the scripts that read this file
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034  # used by the scripts that read this file
jobs=${INSTAR_JOBS:-$(nproc)}

say() { printf '%s\n' "$*"; }
die() {
    printf '%s\n' "$*" >&2
    exit 1
}

# Debian's package, what kind of thing to look for, its name
# shellcheck disable=SC2034
build_packages=(
    "g++ command g++"
    "cmake command cmake"
    "ninja-build command ninja"
    "libtbb-dev header oneapi/tbb/version.h"
    "libeigen3-dev file eigen3/Eigen/Core"
    "nlohmann-json3-dev header nlohmann/json.hpp"
    "zlib1g-dev header zlib.h"
    "libzip-dev header zip.h"
    "libcli11-dev header CLI/CLI.hpp"
    "libstb-dev header stb/stb_image.h"
)
# shellcheck disable=SC2034
quick_packages=(
    "ccache command ccache"
    "doctest-dev header doctest/doctest.h"
)
# shellcheck disable=SC2034
test_packages=(
    "libbenchmark-dev header benchmark/benchmark.h"
    "libturbojpeg0-dev header turbojpeg.h"
    "clang-19 command clang++-19"
    "libclang-rt-19-dev file-of-clang libclang_rt.fuzzer*.a"
)

present() {  # present KIND NAME
    case $1 in
    command) command -v "$2" >/dev/null ;;
    header) command -v g++ >/dev/null && echo "#include <$2>" | g++ -std=c++20 -fsyntax-only -x c++ - 2>/dev/null ;;
    file) [[ -e /usr/include/$2 || -e /usr/local/include/$2 ]] ;;
    file-of-clang)
        local dir
        dir=$(clang++-19 -print-resource-dir 2>/dev/null) || return 1
        [[ -n $(find "$dir/lib" -name "$2" -print -quit 2>/dev/null) ]]
        ;;
    *) die "common.sh: unknown kind '$1'" ;;
    esac
}

require() {
    local entry package kind name
    local -a missing=()
    for entry in "$@"; do
        read -r package kind name <<<"$entry"
        present "$kind" "$name" || missing+=("$package")
    done
    ((${#missing[@]})) || return 0

    local -a install=(apt-get install -y --no-install-recommends "${missing[@]}")
    local -a as_root=()
    local refusal=""
    if ! command -v apt-get >/dev/null; then
        refusal="this machine has no apt-get; install what these Debian packages hold"
    elif [[ ${INSTAR_NO_INSTALL:-0} == 1 ]]; then
        refusal="INSTAR_NO_INSTALL is set"
    elif ((EUID != 0)); then
        if ! command -v sudo >/dev/null; then
            refusal="installing needs root, and sudo is not there"
        elif [[ -t 0 ]]; then
            as_root=(sudo)
        elif sudo -n true 2>/dev/null; then
            as_root=(sudo -n)
        else
            refusal="installing needs root, and sudo asks for a password that nobody is here to type"
        fi
    fi
    say "Missing packages: ${missing[*]}"
    if [[ -n $refusal ]]; then
        die "Nothing was installed: $refusal. As root, run:
    apt-get update && ${install[*]}
and start this script again."
    fi
    say "Installing them: ${install[*]}"
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}"
    hash -r
    for entry in "$@"; do
        read -r package kind name <<<"$entry"
        present "$kind" "$name" || die "$package is installed, but $name was not found. Is this machine older than Debian 12 or Ubuntu 24.04?"
    done
}
