"""What drives a GPU, without one."""
