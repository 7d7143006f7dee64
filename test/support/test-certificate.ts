/**
 * A certificate for teacher.example that signs itself, valid for a hundred years, and its key. For tests alone; nothing trusts it. Made with
 * `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj /CN=teacher.example -addext subjectAltName=DNS:teacher.example`.
 */
export const TEST_CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBpjCCAU2gAwIBAgIUFuIFbFJKxKGd7eS3YuEAMKbmMpkwCgYIKoZIzj0EAwIw
GjEYMBYGA1UEAwwPdGVhY2hlci5leGFtcGxlMCAXDTI2MTEyMzIyNDIwNloYDzIx
MjYxMDMwMjI0MjA2WjAaMRgwFgYDVQQDDA90ZWFjaGVyLmV4YW1wbGUwWTATBgcq
hkjOPQIBBggqhkjOPQMBBwNCAASk6idBoqqJOxLPmJk6x1CPnlMzhSwflLyp6uj7
pIdE9Xmqeq4bLEp1DDEv7Lz+NdEgAmfFBT65VSja0ZArBoWbo28wbTAdBgNVHQ4E
FgQUXVMBe/RiYMrZ34VeQ5M6BzADHAEwHwYDVR0jBBgwFoAUXVMBe/RiYMrZ34Ve
Q5M6BzADHAEwDwYDVR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgg90ZWFjaGVyLmV4
YW1wbGUwCgYIKoZIzj0EAwIDRwAwRAIgMqwVM3bGR7plsMVws+avxlAAYKbWKOgg
VnyaCKOteM8CICIRccWSmKdvMRrIAhlvhNKx++TEqwgt7lpQsOlkQGHY
-----END CERTIFICATE-----
`;

export const TEST_CERTIFICATE_KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgU9MWp4cYoePEv2ps
Ndp7FRwoipwe1lyCcZTFkSL5mrWhRANCAASk6idBoqqJOxLPmJk6x1CPnlMzhSwf
lLyp6uj7pIdE9Xmqeq4bLEp1DDEv7Lz+NdEgAmfFBT65VSja0ZArBoWb
-----END PRIVATE KEY-----
`;
