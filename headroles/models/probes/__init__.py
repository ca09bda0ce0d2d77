"""The seeded texts that every model is scored and calibrated on."""
