"""Paint a camera live: signals of the room drive the controls, and a page, a window or a virtual camera shows it."""
