#!/bin/sh
# The first program in the enclave: vsock port 5005 is carried to the runtime's socket.
set -eu
mkdir -p -m 0700 /run/village
socat VSOCK-LISTEN:5005,reuseaddr,fork UNIX-CONNECT:/run/village/enclave.sock &
exec /opt/village/village-enclave run --config /etc/village/enclave.toml
