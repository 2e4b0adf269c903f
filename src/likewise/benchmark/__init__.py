"""Methods side by side: the same images, the same network, the same time, and one table."""
