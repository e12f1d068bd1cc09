"""Modern Minecraft through MCio, a Fabric mod that runs it in lock-step."""
