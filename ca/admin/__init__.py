"""The operator's command. It opens the files and the database itself, never HTTP."""
