#!/bin/sh
# Installs the Debian packages that are missing here: nothing when none is. Needs root or sudo then.
set -eu

missing=""
python=/usr/bin/python3.11
test -x "$python" || missing="$missing python3.11"
test -x "$python" && "$python" -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
command -v bwrap >/dev/null || missing="$missing bubblewrap"
test -x "$python" && "$python" -c 'import ctypes; ctypes.CDLL("libseccomp.so.2")' 2>/dev/null \
    || missing="$missing libseccomp2"
# A TPM in software, and the tools that an enclave asks any TPM by: the tests run both live.
command -v swtpm >/dev/null || missing="$missing swtpm"
command -v swtpm_setup >/dev/null || missing="$missing swtpm-tools"
command -v tpm2_quote >/dev/null || missing="$missing tpm2-tools"
# Tests and benches on a loopback of their own switch it on with this.
command -v ip >/dev/null || missing="$missing iproute2"
test -n "$missing" || exit 0

# Says what to type, for who must ask somebody else to type it.
by_hand() {
    cat >&2 <<END
setup: $1. On Debian 12, whose Python 3.11 runs the algorithms, as root:

    apt-get update && apt-get install --no-install-recommends$missing

Then make again, as yourself: nothing else of Village needs root.
END
    exit 1
}

as_root=""
command -v apt-get >/dev/null || by_hand "packages are missing, and there is no apt-get"
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null && sudo true || by_hand "packages are missing, and only root can install them"
    as_root=sudo
fi
echo "setup: installing Debian packages:$missing"
# shellcheck disable=SC2086  # a list of names
{
    $as_root apt-get update -qq
    $as_root env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes \
        apt-get install -y -qq --no-install-recommends $missing >/dev/null
} || by_hand "could not install what is missing"
