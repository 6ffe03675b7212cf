#!/bin/sh
# Lays out what an enclave's image holds beside Debian: the attested packages, the libraries that
# they import, one environment for algorithms, one configuration. In a checkout, after make setup:
#   sh configs/deploy/image.sh TARGET configs/deploy/nitro/enclave.toml
# The same checkout gives the same files, whoever calls it: times and rights are set.
set -eu
target=$1
config=$2

rm -rf "$target"
mkdir -p "$target/opt/village/lib" "$target/opt/village/environments" "$target/etc/village" \
    "$target/var/lib/village"
cp -r protocol enclave_host "$target/opt/village/"
cp -r .cache/environments/scientific "$target/opt/village/environments/"
cp "$config" "$target/etc/village/enclave.toml"
.venv/bin/uv pip install --quiet --python-version 3.11 --require-hashes --no-deps \
    --only-binary :all: --no-compile-bytecode --target "$target/opt/village/lib" \
    -r configs/deploy/enclave.lock
rm -rf "$target/opt/village/lib/.lock" "$target/opt/village/lib/bin"
find "$target" -name __pycache__ -prune -exec rm -rf {} +
cat > "$target/opt/village/village-enclave" <<'END'
#!/bin/sh
# The enclave runtime in an image: nothing is compiled or written beside its sources.
export PYTHONPATH=/opt/village:/opt/village/lib PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3.11 -m enclave_host.main "$@"
END
chmod -R u=rwX,go=rX "$target"
chmod 755 "$target/opt/village/village-enclave"
find "$target" -exec touch -h -d @0 {} +
