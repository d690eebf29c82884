"""How the claims are measured, one file per kind. A measure is a frozen dataclass: its fields are its settings."""
