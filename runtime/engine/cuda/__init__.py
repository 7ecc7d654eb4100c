"""Work on NVIDIA's cards: the driver's calls, arrays that stay there, copies that overlap, and captured graphs."""
