"""``hptransfer import``: runs that were trained elsewhere, into the store; or what they would be taken for."""
