"""How the runs of a job are carried out: side by side on this machine, or as tasks on others."""
