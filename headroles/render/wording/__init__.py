"""Every sentence that users read, as messages with named values."""
