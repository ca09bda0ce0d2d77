"""What programs get: pydantic models that take their fields from core values."""
