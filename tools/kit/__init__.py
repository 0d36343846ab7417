"""The recovery kit: one encrypted file with all that a rebuild needs and a dead box, or a burnt house, cannot give.

`make kit SITE=home` makes it, `make kit-open KIT=...` unpacks it into another clone of the project; docs/backup.md
tells the owner's part of it.

- `passphrase.py`: asks for what the kit is encrypted with.
- `gpg.py`: encrypts and decrypts, by GnuPG.
- `archive.py`: many files as one, in memory: what is secret never lies on the disk in clear.
- `site.py`: what Ansible makes of the inventory: is it good, which files does it read elsewhere, what opens its vault.
- `version.py`: which version of the project makes the kit.
- `howto.py`: the page that lies in the kit.
- `make.py`, `unpack.py`: the two things that a person does. `__main__.py` is the command line.
"""
