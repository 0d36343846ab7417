#!/bin/bash
# Installs what the project needs on a fresh Debian 12 or 13, and says so; run again it changes nothing.
#   tools/bootstrap.sh         Debian's packages, a Python, .venv
#   tools/bootstrap.sh venv    only .venv (deploying a real home needs no containers)
set -euo pipefail
cd "$(dirname "$0")/.."
sudo=(); [ "$(id -u)" = 0 ] || sudo=(sudo)

packages=(openssh-client openssl gnupg python3-venv)
if [ "${1:-}" != venv ]; then
  packages+=(podman netavark aardvark-dns iptables nftables iproute2 slirp4netns mmdebstrap debian-archive-keyring ca-certificates)
  # crun, podman's default, cannot run systemd on control groups v1.
  [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] || packages+=(runc)
fi
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || { echo "This is not a Debian: install by hand: ${missing[*]}" >&2; exit 1; }
  echo "== Installing Debian's packages: ${missing[*]}"
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# Ansible 14 wants Python 3.12: Debian 13 has 3.13, on Debian 12 another one may lie around, or uv fetches one.
# The path it prints is the real one: the one found first may be that of our own .venv, which is about to be made anew.
fits='import os, sys, ensurepip, venv; print(os.path.realpath(sys.executable)); sys.exit(sys.version_info < (3, 12))'
python=
for candidate in python3 python3.13 python3.14 python3.12 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-4]*/bin/python3; do
  if found=$("$candidate" -c "$fits" 2>/dev/null); then python=$found; break; fi
done
fetch_python() {
  [ -x build/uv/bin/uv ] || { python3 -m venv build/uv && build/uv/bin/pip install -q uv; } || return
  # In the project, not in the home folder: `make clean` takes it away.
  export UV_PYTHON_INSTALL_DIR=$PWD/build/uv/python UV_PYTHON_INSTALL_BIN=0
  build/uv/bin/uv python install -q 3.13 && python=$(build/uv/bin/uv python find 3.13)
}
if [ -z "$python" ]; then
  echo "== No Python >= 3.12 here: asking uv for one"
  if ! fetch_python; then
    echo "There is no Python >= 3.12 and uv could not download one: install the package python3.13 (or python3.12) by hand, then type the command again." >&2
    exit 1
  fi
fi

stamp=$(cat requirements.txt requirements-route53.txt src/requirements-agent-python313.txt | sha256sum | cut -d' ' -f1)
if [ "$(cat .venv/requirements.sha256 2>/dev/null)" != "$stamp" ] || ! .venv/bin/python -c '' 2>/dev/null; then
  echo "== Making .venv with $("$python" --version): Ansible, Molecule, the linters (a minute)"
  rm -rf .venv
  "$python" -m venv .venv
  .venv/bin/pip install -qq --disable-pip-version-check --require-hashes --no-compile -r requirements.txt
  .venv/bin/pip install -qq --disable-pip-version-check --require-hashes --no-compile --no-deps -r requirements-route53.txt
  # They say that they need Python 3.13; 3.12 is enough for the tests.
  .venv/bin/pip install -qq --disable-pip-version-check --require-hashes --no-compile --no-deps --ignore-requires-python -r src/requirements-agent-python313.txt
  echo "$stamp" > .venv/requirements.sha256
fi
# Molecule and ansible-lint look for their programs in PATH: so `.venv/bin/molecule test`, typed by hand, finds them.
# And Molecule keeps what it knows of a lab in a folder named by the last part of the project's path, which another clone may share.
cat > "$(.venv/bin/python -c 'import site; print(site.getsitepackages()[0])')/venv-path.pth" <<'EOF'
import os, sys; os.environ["PATH"] = os.path.join(sys.prefix, "bin") + os.pathsep + os.environ.get("PATH", "")
import os, sys; os.environ.setdefault("MOLECULE_EPHEMERAL_DIRECTORY", os.path.join(os.path.dirname(sys.prefix), "build", "molecule"))
EOF
