"""A certificate and key that stand in for those SDS would bring, when a configuration is only looked at.

Throw-away, self-signed for `placeholder.invalid`, trusted by nobody and never served.
"""

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBQDCB5qADAgECAgEBMAoGCCqGSM49BAMCMB4xHDAaBgNVBAMME3BsYWNlaG9s
ZGVyLmludmFsaWQwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMB4x
HDAaBgNVBAMME3BsYWNlaG9sZGVyLmludmFsaWQwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAT+oWEFMNMto6vTH0sByf1jYytBvIy3KCXG3yu90ASJrTH5qqMMTyq7
SxnKe7arWmB2Qke7uwqHVJhMfMSCUIo7oxMwETAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0kAMEYCIQCbICMKrYhhAzvwzA5LgSji5gPinwkXotJs1hGi3P2A
+gIhALnJvIFkWN6JpUJwP6o6GBc3tbf9nYiqzeWv01ouIe4z
-----END CERTIFICATE-----
"""

PRIVATE_KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgWgYaEHFfY9HHFqgF
wZc3Tipd1J0NNs9dby3R+/5U/nGhRANCAAT+oWEFMNMto6vTH0sByf1jYytBvIy3
KCXG3yu90ASJrTH5qqMMTyq7SxnKe7arWmB2Qke7uwqHVJhMfMSCUIo7
-----END PRIVATE KEY-----
"""
