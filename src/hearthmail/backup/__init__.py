"""`hearth-backup`: takes backups with restic, and brings a mailbox or the whole box back."""
