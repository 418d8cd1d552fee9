"""From the files of a hospital to the packed rows that training reads."""
