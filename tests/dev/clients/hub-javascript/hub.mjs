// Uses Event Hubs' client for JavaScript, and prints what it sent and received as one line of JSON.
import { EventHubConsumerClient, EventHubProducerClient, earliestEventPosition } from "@azure/event-hubs";

const connection = process.env.HUB;
const consumer = () => new EventHubConsumerClient("$Default", connection);

function read(client, partition, position, count, ownerLevel) {
  return new Promise((resolve, reject) => {
    const events = [];
    const subscription = client.subscribe(
      partition,
      {
        processEvents: async (received) => {
          events.push(...received);
          if (events.length >= count) {
            await subscription.close();
            resolve(events);
          }
        },
        processError: async (fault) => reject(fault),
      },
      { startPosition: position, maxWaitTimeInSeconds: 1, ownerLevel },
    );
  });
}

const uses = {
  async exchange() {
    const producer = new EventHubProducerClient(connection);
    const hub = await producer.getEventHubProperties();
    const [partition] = hub.partitionIds;
    const bodies = Array.from({ length: 100 }, (_, n) => ({ n, text: n % 10 === 0 ? "x".repeat(150_000) : "short" }));
    for (const body of bodies) await producer.sendBatch([{ body }], { partitionId: partition });
    const last = await producer.getPartitionProperties(partition);
    await producer.close();
    const client = consumer();
    const all = await read(client, partition, earliestEventPosition, 100);
    const middle = all[40];
    const from = {};
    from.sequence = await read(client, partition, { sequenceNumber: middle.sequenceNumber, isInclusive: true }, 60);
    from.offset = await read(client, partition, { offset: middle.offset }, 59);
    // several events may share a millisecond: starting one earlier, at least these 60 arrive
    from.time = await read(client, partition, { enqueuedOn: new Date(middle.enqueuedTimeUtc.getTime() - 1) }, 60);
    await client.close();
    return {
      partitions: hub.partitionIds.length,
      last: last.lastEnqueuedSequenceNumber,
      equal: JSON.stringify(all.map((event) => event.body)) === JSON.stringify(bodies),
      sequence: from.sequence[0].body.n,
      offset: from.offset[0].body.n,
      time: from.time.some((event) => event.body.n === 41),
    };
  },
  async owner() {
    const [first, second] = [consumer(), consumer()];
    const lost = read(first, "0", earliestEventPosition, Infinity, 1).catch((fault) => fault.code);
    while (!(await owned())) await new Promise((resolve) => setTimeout(resolve, 50));
    const won = read(second, "0", earliestEventPosition, 1, 2);
    const result = { lost: await lost, won: (await won).length > 0 };
    await Promise.all([first.close(), second.close()]);
    return result;
  },
  async refused() {
    const told = async (work) => work().then(() => "let in", (fault) => fault.code ?? fault.name);
    const wrong = new EventHubProducerClient(connection.replace(/SharedAccessKey=[^;]*/, "SharedAccessKey=d3Jvbmc="), {
      retryOptions: { maxRetries: 0 },
    });
    const right = new EventHubProducerClient(connection, { retryOptions: { maxRetries: 0 } });
    const result = {
      key: await told(() => wrong.getEventHubProperties()),
      partition: await told(() => right.getPartitionProperties("77")),
      sending: await told(() => right.sendBatch([{ body: "x" }], { partitionId: "77" })),
    };
    await Promise.all([wrong.close(), right.close()]);
    return result;
  },
};

// while a reader with an owner level exists, one without is refused
async function owned() {
  const probe = consumer();
  try {
    return await read(probe, "0", earliestEventPosition, 1).then(() => false, () => true);
  } finally {
    await probe.close();
  }
}

console.log(JSON.stringify(await uses[process.argv[2]]()));
