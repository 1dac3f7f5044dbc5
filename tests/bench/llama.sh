#!/usr/bin/env bash
# llama.sh: builds llama.cpp for this very machine, with clang, from the source
# package of llama.lock, and prints the folder with its bin, lib and include.
# Does nothing when that is done. JOBS limits how many compilers run.
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib.sh"
here=$ROOT/tests/bench
read -r package sha256 build < <(grep -v '^#' "$here/llama.lock")

packages() {
  local wanted missing
  mapfile -t wanted < <(grep -v '^#' "$here/packages.txt")
  mapfile -t missing < <(
    comm -23 <(printf '%s\n' "${wanted[@]}" | sort) \
      <(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${wanted[@]}" 2> /dev/null | awk '$2 == "installed" {print $1}' | sort)
  )
  [ "${#missing[@]}" = 0 ] && return
  install() {
    export DEBIAN_FRONTEND=noninteractive
    # One list that cannot be had (a third party's) need not matter.
    apt-get update || true
    apt-get install -y --no-install-recommends "${missing[@]}"
  }
  step "Install Debian packages: ${missing[*]}" install
}

# make_it OUT: flash attention and the KV cache's type are chosen when it runs;
# what is fixed here is what its makers call the best for one machine. Static,
# because the time to the first token is a figure.
make_it() {
  local work=$1/work name
  mkdir "$work"
  echo "$package --hash=sha256:$sha256" > "$work/requirements.txt"
  python3 -m pip download --no-deps --no-binary "${package%%==*}" --require-hashes --dest "$work" -r "$work/requirements.txt"
  mkdir "$work/source"
  tar -xzf "$work/${package/==/-}.tar.gz" -C "$work/source" --strip-components=3 --wildcards '*/thirdparty/llama.cpp'
  cmake -S "$work/source" -B "$work/build" -G Ninja \
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER=clang-19 -DCMAKE_CXX_COMPILER=clang++-19 \
    -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=ON -DGGML_CCACHE=OFF -DGGML_CPU_REPACK=ON -DGGML_OPENMP=ON \
    -DLLAMA_BUILD_NUMBER="$build" -DLLAMA_BUILD_COMMIT=package -DLLAMA_OPENSSL=OFF \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_USE_PREBUILT_UI=OFF
  cmake --build "$work/build" -j "${JOBS:-$(nproc)}" --target "${programs[@]}"
  mkdir "$1/bin" "$1/lib" "$1/include"
  for name in "${programs[@]}"; do
    strip -o "$1/bin/$name" "$work/build/bin/$name"
  done
  find "$work/build/src" "$work/build/ggml" "$work/build/vendor" -name '*.a' -exec cp -t "$1/lib" {} +
  cp "$work"/source/include/*.h "$work"/source/ggml/include/*.h "$1/include/"
  cp "$work/source/LICENSE" "$1/"
  rm -rf "$work"
}

programs=(llama-bench llama-server llama-perplexity llama-quantize)
packages
# A native build is good for one kind of processor only.
key=$({ cat "$here/llama.lock" "$here/packages.txt"; declare -f make_it; echo "${programs[@]}"; grep -m1 '^flags' /proc/cpuinfo; } | sha256sum | cut -c1-12)
out=$HEARTH_CACHE/bench/llama.cpp/b$build-$key
ensure "$out" "Build llama.cpp b$build (clang 19, native)" make_it
echo "$out"
