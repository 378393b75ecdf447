package goclient_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"

	"bowline/testing/conformance/clients/server"
)

// authority signs certificates for one test.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// serial makes each certificate another one.
var serial = make(chan int64, 1)

func init() { serial <- 1 }

func nextSerial() int64 {
	n := <-serial
	serial <- n + 1
	return n
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(nextSerial()),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return authority{certificate, key}
}

// pair writes a certificate for 127.0.0.1 and its key, good for servers and clients.
func (a authority) pair(t *testing.T, certFile, keyFile, name string) *big.Int {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(nextSerial()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames:     []string{"localhost"},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	require.NoError(t, err)
	secret, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	replaceFile(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	replaceFile(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}))
	return template.SerialNumber
}

func (a authority) write(t *testing.T, file string) {
	t.Helper()
	replaceFile(t, file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}))
}

// replaceFile swaps the file in one step, as tools that renew certificates do.
func replaceFile(t *testing.T, file string, content []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(file+".new", content, 0o600))
	require.NoError(t, os.Rename(file+".new", file))
}

// tlsFiles are the files of one server and one client, all signed by authority.
type tlsFiles struct {
	ca, serverCert, serverKey, clientCert, clientKey string
	authority                                        authority
	serverSerial                                     *big.Int
}

func newTLSFiles(t *testing.T) tlsFiles {
	t.Helper()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	files := tlsFiles{
		ca: in("ca.crt"), serverCert: in("server.crt"), serverKey: in("server.key"),
		clientCert: in("client.crt"), clientKey: in("client.key"), authority: newAuthority(t, "test authority"),
	}
	files.authority.write(t, files.ca)
	files.serverSerial = files.authority.pair(t, files.serverCert, files.serverKey, "server")
	files.authority.pair(t, files.clientCert, files.clientKey, "client")
	return files
}

func (f tlsFiles) serve(t *testing.T, args ...string) *server.Server {
	t.Helper()
	args = append([]string{"--cert-file=" + f.serverCert, "--key-file=" + f.serverKey}, args...)
	return startConfigured(t, server.Config{TLS: true, Args: args})
}

// client trusts the authority and shows a certificate only if asked to.
func (f tlsFiles) client(t *testing.T, s *server.Server, withCertificate bool) *clientv3.Client {
	t.Helper()
	info := transport.TLSInfo{TrustedCAFile: f.ca}
	if withCertificate {
		info.CertFile, info.KeyFile = f.clientCert, f.clientKey
	}
	config, err := info.ClientConfig()
	require.NoError(t, err)
	return connect(t, s, func(c *clientv3.Config) { c.TLS = config })
}

// servedSerial is the serial number of the certificate that a new connection is shown.
func servedSerial(t *testing.T, s *server.Server) *big.Int {
	t.Helper()
	connection, err := tls.Dial("tcp", s.Address(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	require.NoError(t, err)
	defer connection.Close()
	require.Equal(t, "h2", connection.ConnectionState().NegotiatedProtocol)
	return connection.ConnectionState().PeerCertificates[0].SerialNumber
}

// refused says whether a request fails for want of a connection.
func refused(client *clientv3.Client) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := client.Get(ctx, "k")
	return err != nil
}

func TestTLS(t *testing.T) {
	t.Parallel()
	files := newTLSFiles(t)
	s := files.serve(t)
	client := files.client(t, s, false)
	put(t, client, "k", "v")
	require.Equal(t, "v", value(t, client, "k"))
	watch := watchCreated(t, within(t), client, "k")
	put(t, client, "k", "w")
	require.Len(t, collect(t, watch, 1), 1)
	require.True(t, refused(connect(t, s, func(c *clientv3.Config) { c.Endpoints = []string{s.Address()} })), "a client without TLS")
	require.True(t, refused(newTLSFiles(t).client(t, s, false)), "a client that trusts somebody else")
}

func TestTLSVersions(t *testing.T) {
	t.Parallel()
	files := newTLSFiles(t)
	s := files.serve(t, "--tls-min-version=TLS1.3")
	dial := func(version uint16) error {
		connection, err := tls.Dial("tcp", s.Address(), &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
		if err == nil {
			_ = connection.Close()
		}
		return err
	}
	require.Error(t, dial(tls.VersionTLS12))
	require.NoError(t, dial(tls.VersionTLS13))
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	files := newTLSFiles(t)
	s := files.serve(t, "--client-cert-auth=true", "--trusted-ca-file="+files.ca)
	client := files.client(t, s, true)
	put(t, client, "k", "v")
	require.Equal(t, "v", value(t, client, "k"))
	require.True(t, refused(files.client(t, s, false)), "a client without certificate")
	stranger := newTLSFiles(t)
	stranger.ca = files.ca
	require.True(t, refused(stranger.client(t, s, true)), "a client with a certificate of another authority")
}

func TestServerCertificateIsReloaded(t *testing.T) {
	t.Parallel()
	files := newTLSFiles(t)
	s := files.serve(t)
	require.Equal(t, files.serverSerial, servedSerial(t, s))
	old := files.client(t, s, false)
	put(t, old, "k", "v")
	renewed := files.authority.pair(t, files.serverCert, files.serverKey, "server")
	eventually(t, "the new certificate is served", func() bool { return servedSerial(t, s).Cmp(renewed) == 0 })
	require.Equal(t, "v", value(t, old, "k"), "connections made before go on")
	require.Equal(t, "v", value(t, files.client(t, s, false), "k"))
}

// etcd reads the authority once, at its start; Bowline again when the file changes.
func TestClientAuthorityIsReloaded(t *testing.T) {
	t.Parallel()
	if filepath.Base(os.Getenv(server.BinaryEnv)) == "etcd" {
		t.Skip("etcd does not reload the authority")
	}
	files, other := newTLSFiles(t), newTLSFiles(t)
	s := files.serve(t, "--client-cert-auth=true", "--trusted-ca-file="+files.ca)
	old := files.client(t, s, true)
	put(t, old, "k", "v")
	replacement := files
	replacement.clientCert, replacement.clientKey = other.clientCert, other.clientKey
	trusted := files.ca + ".before"
	files.authority.write(t, trusted)
	replacement.ca = trusted
	require.True(t, refused(replacement.client(t, s, true)), "a client of an authority not yet trusted")
	other.authority.write(t, files.ca)
	eventually(t, "the new authority is trusted", func() bool { return !refused(replacement.client(t, s, true)) })
	former := files
	former.ca = trusted
	require.True(t, refused(former.client(t, s, true)), "a new connection of the former authority")
	require.Equal(t, "v", value(t, old, "k"), "connections made before go on")
}

func TestServerStillServesAfterABadCertificateWasWritten(t *testing.T) {
	t.Parallel()
	files := newTLSFiles(t)
	s := files.serve(t)
	old := files.client(t, s, false)
	put(t, old, "k", "v")
	replaceFile(t, files.serverCert, []byte("not a certificate"))
	require.Equal(t, "v", value(t, old, "k"))
	renewed := files.authority.pair(t, files.serverCert, files.serverKey, "server")
	eventually(t, "the new certificate is served", func() bool {
		connection, err := tls.Dial("tcp", s.Address(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			return false
		}
		defer connection.Close()
		return connection.ConnectionState().PeerCertificates[0].SerialNumber.Cmp(renewed) == 0
	})
}

func TestErrorsAreTheSameOverTLS(t *testing.T) {
	t.Parallel()
	files := newTLSFiles(t)
	client := files.client(t, files.serve(t), false)
	_, err := client.Get(within(t), "k", clientv3.WithRev(1000))
	require.ErrorIs(t, err, rpctypes.ErrFutureRev)
}
