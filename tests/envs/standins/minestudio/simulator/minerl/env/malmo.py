from standin_world import InstanceManager

__all__ = ["InstanceManager"]
