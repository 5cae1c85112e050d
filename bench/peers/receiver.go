// A receiver of GitHub pushes made of Go's standard library alone: reads the body, verifies its
// HMAC-SHA256, reads where it was pushed to, tells the daemon, answers. It does no more than that.
//
// receiver KEY-FILE DAEMON-URL IDLE-CONNECTIONS
package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

type push struct {
	Ref        string `json:"ref"`
	Repository struct {
		SSHURL string `json:"ssh_url"`
	} `json:"repository"`
}

type source struct {
	URL, Branch string
}

type notification struct {
	Kind   string
	Source source
}

type receiver struct {
	key    []byte
	daemon string
	client *http.Client
}

func (r *receiver) genuine(signature string, body []byte) bool {
	digits, found := strings.CutPrefix(signature, "sha256=")
	sent, err := hex.DecodeString(digits)
	mac := hmac.New(sha256.New, r.key)
	mac.Write(body)
	return found && err == nil && hmac.Equal(sent, mac.Sum(nil))
}

func (r *receiver) tell(ctx context.Context, event push) error {
	branch := strings.TrimPrefix(event.Ref, "refs/heads/")
	body, err := json.Marshal(notification{"git", source{event.Repository.SSHURL, branch}})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.daemon, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "application/json")
	answer, err := r.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusAccepted {
		return fmt.Errorf("answered %d", answer.StatusCode)
	}
	return nil
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !r.genuine(request.Header.Get("X-Hub-Signature-256"), body) {
		http.Error(w, "not genuine", http.StatusUnauthorized)
		return
	}
	var event push
	if err := json.Unmarshal(body, &event); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(request.Context(), 10*time.Second)
	defer cancel()
	if err := r.tell(ctx, event); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusOK)
}

func main() {
	key, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	idle, err := strconv.Atoi(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = idle
	transport.MaxIdleConns = max(transport.MaxIdleConns, idle)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	log.Fatal(http.Serve(listener, &receiver{key, os.Args[2], &http.Client{Transport: transport}}))
}
