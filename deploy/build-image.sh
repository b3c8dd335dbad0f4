#!/bin/bash
# The build stage of the Dockerfile: bridge and sink for $TARGETARCH, on a machine of $BUILDARCH, into /out.
# /out/beside is what their images need beside them.
set -euo pipefail

declare -A RUST=([amd64]=x86_64-unknown-linux-gnu [arm64]=aarch64-unknown-linux-gnu)
declare -A GNU=([amd64]=x86_64-linux-gnu [arm64]=aarch64-linux-gnu)
target=${RUST[$TARGETARCH]} gnu=${GNU[$TARGETARCH]}

if [ "$TARGETARCH" != "$BUILDARCH" ]; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "g++-${gnu//_/-}"
    rustup target add "$target"
    # librdkafka's own configure script asks for no target; what is built for this machine keeps its compiler.
    export CC=$gnu-gcc CXX=$gnu-g++ AR=$gnu-ar HOST_CC=gcc HOST_CXX=g++ HOST_AR=ar
    linker=CARGO_TARGET_${target^^}_LINKER
    export "${linker//-/_}=$gnu-gcc"
fi
# The images have no zlib.
export LIBZ_SYS_STATIC=1
cargo build --locked --profile "$PROFILE" --target "$target" -p milepost-bridge -p milepost-sink

mkdir -p /out/beside/lib /out/beside/etc/ssl/certs
cp "target/$target/$PROFILE/milepost-bridge" "target/$target/$PROFILE/milepost-sink" /out/
cp "$("${CC:-gcc}" -print-file-name=libgcc_s.so.1)" /out/beside/lib/
cp /etc/ssl/certs/ca-certificates.crt /out/beside/etc/ssl/certs/
