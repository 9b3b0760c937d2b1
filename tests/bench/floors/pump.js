// The least a Worker can do that has to see a stream's bytes, as whoever counts tokens must: it takes each chunk from the
// provider and gives it to the client.
class Chunks {
  constructor(stream) {
    this.reader = stream.getReader();
  }

  async pull(controller) {
    const chunk = await this.reader.read();
    if (chunk.done) controller.close();
    else controller.enqueue(chunk.value);
  }

  cancel(reason) {
    return this.reader.cancel(reason);
  }
}

export default {
  async fetch(request, env) {
    const answer = await fetch(new Request(env.PROVIDER + new URL(request.url).pathname, request));
    return new Response(new ReadableStream(new Chunks(answer.body)), answer);
  },
};
