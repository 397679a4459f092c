"""The built-in workloads. Each uses the public face alone, exactly as a stranger would write one."""
