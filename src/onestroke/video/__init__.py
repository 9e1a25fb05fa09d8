"""Moving pictures: reading, flow, steadiness, writing."""
