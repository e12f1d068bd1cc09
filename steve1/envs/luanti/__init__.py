"""Luanti (Minetest Game), the game that installs from the system's packages."""
