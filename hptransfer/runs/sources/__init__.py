"""Runs that were trained elsewhere: any table, tracker or storage, in one normal form."""
