// Uses Event Hubs' client for Go, and prints what it sent and received as one line of JSON.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"
)

var connection = os.Getenv("HUB")

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func producer(conn string) *azeventhubs.ProducerClient {
	options := azeventhubs.ProducerClientOptions{RetryOptions: azeventhubs.RetryOptions{MaxRetries: -1}}
	return must(azeventhubs.NewProducerClientFromConnectionString(conn, "", &options))
}

func consumer() *azeventhubs.ConsumerClient {
	return must(azeventhubs.NewConsumerClientFromConnectionString(connection, "", "$Default", nil))
}

func read(ctx context.Context, at azeventhubs.StartPosition, count int) []*azeventhubs.ReceivedEventData {
	client := consumer()
	defer client.Close(ctx)
	partition := must(client.NewPartitionClient("0", &azeventhubs.PartitionClientOptions{StartPosition: at}))
	defer partition.Close(ctx)
	var events []*azeventhubs.ReceivedEventData
	for len(events) < count {
		events = append(events, must(partition.ReceiveEvents(ctx, 1, nil))...)
	}
	return events
}

func exchange(ctx context.Context) map[string]any {
	client := producer(connection)
	defer client.Close(ctx)
	hub := must(client.GetEventHubProperties(ctx, nil))
	zero := "0"
	var bodies [][]byte
	for n := range 100 {
		body := fmt.Appendf(nil, "%d ", n)
		if n%10 == 0 {
			body = append(body, bytes.Repeat([]byte("x"), 150_000)...)
		}
		bodies = append(bodies, body)
		batch := must(client.NewEventDataBatch(ctx, &azeventhubs.EventDataBatchOptions{PartitionID: &zero}))
		if err := batch.AddEventData(&azeventhubs.EventData{Body: body}, nil); err != nil {
			must(0, err)
		}
		if err := client.SendEventDataBatch(ctx, batch, nil); err != nil {
			must(0, err)
		}
	}
	last := must(client.GetPartitionProperties(ctx, "0", nil))
	all := read(ctx, azeventhubs.StartPosition{Earliest: to(true)}, 100)
	equal := true
	for n, event := range all {
		equal = equal && bytes.Equal(event.Body, bodies[n])
	}
	middle := all[40]
	number := func(event *azeventhubs.ReceivedEventData) string { return strings.Fields(string(event.Body))[0] }
	return map[string]any{
		"partitions": len(hub.PartitionIDs),
		"last":       last.LastEnqueuedSequenceNumber,
		"equal":      equal,
		"sequence":   number(read(ctx, azeventhubs.StartPosition{SequenceNumber: &middle.SequenceNumber, Inclusive: true}, 1)[0]),
		"offset":     number(read(ctx, azeventhubs.StartPosition{Offset: &middle.Offset}, 1)[0]),
		"time":       len(read(ctx, azeventhubs.StartPosition{EnqueuedTime: middle.EnqueuedTime}, 1)) == 1,
	}
}

func owner(ctx context.Context) map[string]any {
	earliest := azeventhubs.StartPosition{Earliest: to(true)}
	first, second := consumer(), consumer()
	low := must(first.NewPartitionClient("0", &azeventhubs.PartitionClientOptions{StartPosition: earliest, OwnerLevel: to(int64(1))}))
	must(low.ReceiveEvents(ctx, 1, nil))
	high := must(second.NewPartitionClient("0", &azeventhubs.PartitionClientOptions{StartPosition: earliest, OwnerLevel: to(int64(2))}))
	won := must(high.ReceiveEvents(ctx, 1, nil))
	_, lost := low.ReceiveEvents(ctx, 1_000_000, nil)
	return map[string]any{"won": len(won) == 1, "lost": code(lost)}
}

func refused(ctx context.Context) map[string]any {
	before, rest, _ := strings.Cut(connection, "SharedAccessKey=")
	_, after, _ := strings.Cut(rest, ";")
	_, key := producer(before+"SharedAccessKey=d3Jvbmc=;"+after).GetEventHubProperties(ctx, nil)
	_, partition := producer(connection).GetPartitionProperties(ctx, "77", nil)
	_, sending := producer(connection).NewEventDataBatch(ctx, &azeventhubs.EventDataBatchOptions{PartitionID: to("77")})
	return map[string]any{"key": code(key), "partition": partition != nil, "sending": sending != nil}
}

func code(err error) string {
	var fault *azeventhubs.Error
	if errors.As(err, &fault) {
		return string(fault.Code)
	}
	return fmt.Sprint(err)
}

func to[T any](value T) *T { return &value }

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	uses := map[string]func(context.Context) map[string]any{"exchange": exchange, "owner": owner, "refused": refused}
	fmt.Println(string(must(json.Marshal(uses[os.Args[1]](ctx)))))
}
