"""Types of the compiled module. Each section belongs to one file of ``bindings/src``."""


__version__: str

# --- shelf.rs ---

# --- kernel.rs ---

# --- session.rs ---

# --- tier.rs ---

# --- trace.rs ---
