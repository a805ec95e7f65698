// Receive facts with the standard library alone. Set PORT and UNBROKEN_WEBHOOK_SECRET.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	tolerance    = 5 * time.Minute // an old request that somebody recorded is not accepted again
	bodyBytesMax = 1_000_000
)

type fact struct {
	ID            string          `json:"id"`
	Type          string          `json:"type"`
	ParticipantID *string         `json:"participant_id"`
	Sequence      *int64          `json:"sequence"`
	Payload       json.RawMessage `json:"payload"`
}

// isGenuine takes the bytes as they came: parsed and written again they are not those that were
// signed.
func isGenuine(key []byte, header http.Header, body []byte) bool {
	id, timestamp := header.Get("webhook-id"), header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if id == "" || err != nil || time.Since(time.Unix(seconds, 0)).Abs() > tolerance {
		return false
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", id, timestamp)
	mac.Write(body)
	expected := mac.Sum(nil)
	// One signature for each secret while it is being rotated.
	for _, one := range strings.Fields(header.Get("webhook-signature")) {
		version, text, _ := strings.Cut(one, ",")
		given, err := base64.StdEncoding.DecodeString(text)
		if version == "v1" && err == nil && hmac.Equal(given, expected) {
			return true
		}
	}
	return false
}

func main() {
	secret := strings.TrimPrefix(os.Getenv("UNBROKEN_WEBHOOK_SECRET"), "whsec_")
	key, err := base64.StdEncoding.DecodeString(secret)
	if err != nil || len(key) == 0 {
		log.Fatal("UNBROKEN_WEBHOOK_SECRET is not whsec_ and base64")
	}
	var seen sync.Map // in earnest: a table with a unique key on the webhook-id
	receive := func(response http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(response, request.Body, bodyBytesMax))
		var one fact
		if err != nil || !isGenuine(key, request.Header, body) || json.Unmarshal(body, &one) != nil {
			response.WriteHeader(http.StatusUnauthorized)
			return
		}
		// The id is the webhook-id: the same on every attempt.
		if _, isRepeated := seen.LoadOrStore(one.ID, true); !isRepeated {
			fmt.Println(one.Type, one.ID)
		}
		response.WriteHeader(http.StatusNoContent) // at once; longer work goes into a queue
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), http.HandlerFunc(receive)))
}
