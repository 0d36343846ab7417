#!/bin/bash
# Runs a command as root, with root's home folder (what Ansible keeps in yours stays yours), and gives what it left in
# this clone back to you: a real home is deployed from it without root. One sudo for both, as a long run outlives its password.
set -euo pipefail
clone=$(cd "$(dirname "$0")/.." && pwd)
exec sudo -E -H bash -c '
  trap : INT # the command ends by itself, and then the files go back
  code=0; env "$@" || code=$?
  chown -R --from=root "$SUDO_UID" "$0"
  exit $code' "$clone" "$@"
