#!/bin/bash
# Stands in for `cargo build … --profile PROFILE --target TARGET …`: the programs were built outside. They use the
# zlib of the machine there, where the real build has it within.
while [ $# -gt 0 ]; do
    case $1 in
    --profile) profile=$2 ;;
    --target) target=$2 ;;
    esac
    shift
done
mkdir -p "target/$target/$profile" /out/beside/lib
cp /programs/* "target/$target/$profile/"
cp --dereference /usr/lib/x86_64-linux-gnu/libz.so.1 /out/beside/lib/
