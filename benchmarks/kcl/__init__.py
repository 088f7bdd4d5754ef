"""The KCL and streamkit at the same work, on the same emulator."""
