package main

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"sort"
	"strings"
)

// The HTTP endpoints on the client port: status, the headers that clients
// look at, and the body.

// comparedHeaders are those that an endpoint sets on purpose.
var comparedHeaders = []string{"Allow", "Content-Type", "Location", "X-Content-Type-Options", "Www-Authenticate"}

var httpClient = &http.Client{
	// Redirects are answers like others.
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// HTTP sends a request without body and records the answer.
func (s *side) HTTP(method, path string) {
	ctx, cancel := s.deadline()
	defer cancel()
	text := method + " " + path
	request, err := http.NewRequestWithContext(ctx, method, s.server.clientURL+path, nil)
	if err != nil {
		s.giveUp("%s: %v", text, err)
	}
	response, err := httpClient.Do(request)
	if err != nil {
		s.record(text, []leaf{{path: "error", text: s.own(err.Error())}})
		return
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.record(text, []leaf{{path: "error", text: s.own(err.Error())}})
		return
	}
	leaves := []leaf{{path: "status", text: response.Status}}
	for _, name := range comparedHeaders {
		if values := response.Header.Values(name); len(values) > 0 {
			leaves = append(leaves, leaf{path: "header " + name, text: s.own(strings.Join(values, ", "))})
		}
	}
	s.record(text, append(leaves, leaf{path: "body", text: s.bodyText(string(body))}))
}

var serverVersionInBody = regexp.MustCompile(`("etcdserver":"\d+\.\d+\.)\d+`)

// bodyText hides the patch release, and sorts the lines that list checks:
// etcd prints those in random order.
func (s *side) bodyText(body string) string {
	body = serverVersionInBody.ReplaceAllString(s.own(body), "${1}x")
	lines := strings.Split(body, "\n")
	if strings.HasPrefix(body, "[") {
		sort.Strings(lines)
	}
	return fmt.Sprintf("%q", lines)
}

func init() {
	for _, path := range []string{
		"/health", "/health?serializable=true", "/health?serializable=false", "/health?exclude=NOSPACE",
		"/health?exclude=NOSPACE&exclude=CORRUPT", "/health?exclude=", "/health?exclude=nonsense", "/health?unknown=1",
		"/health/", "/healthz",
		"/livez", "/livez?verbose", "/livez?verbose=", "/livez?verbose=true", "/livez?exclude=serializable_read",
		"/livez?verbose&exclude=serializable_read", "/livez?verbose&exclude=unknown", "/livez/serializable_read",
		"/livez/serializable_read?verbose", "/livez/linearizable_read", "/livez/unknown", "/livez/",
		"/readyz", "/readyz?verbose", "/readyz?exclude=linearizable_read&verbose", "/readyz/linearizable_read",
		"/readyz?exclude=linearizable_read&exclude=serializable_read&exclude=data_corruption&exclude=non_learner&verbose",
		"/readyz/serializable_read", "/readyz/data_corruption?verbose", "/readyz/non_learner", "/readyz/unknown",
		"/readyz/data_corruption/",
		"/version", "/version?pretty=true", "/version/", "/versions",
		"/", "/nothing", "/v2/keys", "/members", "/raft", "/debug/pprof/",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"} {
			shared(fmt.Sprintf("http/%s %s", method, path), func(s *side) { s.HTTP(method, path) })
		}
	}
}
