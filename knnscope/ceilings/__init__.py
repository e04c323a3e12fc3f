"""What this machine can do at best: reading, copying and multiplying, measured once and kept."""
