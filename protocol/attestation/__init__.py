"""Attestation: evidence, policy and appraisal (RATS, RFC 9334)."""
