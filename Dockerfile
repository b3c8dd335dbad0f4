# The images of bridge and sink, for amd64 and arm64. The compiler runs on the machine that builds and makes
# code for the one that will run it:
#
#   docker build --target bridge -t milepost-bridge:0.1.0 .
#   docker buildx build --platform linux/amd64,linux/arm64 --target sink .
FROM --platform=$BUILDPLATFORM rust:1.95.0-bookworm AS build
ARG BUILDARCH
ARG TARGETARCH
ARG PROFILE=dist
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target,id=milepost-$TARGETARCH \
    deploy/build-image.sh

# glibc and a shell to look around with, 5 MB. The programs need libgcc beside it, and for HTTPS the world's
# certificate authorities.
FROM busybox:1.37.0-glibc AS base
COPY --from=build /out/beside/ /
USER 10001:10001

FROM base AS bridge
COPY --from=build /out/milepost-bridge /usr/bin/
EXPOSE 9465
ENTRYPOINT ["/usr/bin/milepost-bridge"]

FROM base AS sink
COPY --from=build /out/milepost-sink /usr/bin/
EXPOSE 9466
ENTRYPOINT ["/usr/bin/milepost-sink"]
