"""What a piece of work does on the GPU, recorded in this process or by Nsight Systems."""
