import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { FileStream } from './file-stream.ts'
import { sendFile } from './send-file.ts'
import { endStalledClients } from './stalled-clients.ts'

const STALL_MS = 200

async function serve(listener: RequestListener) {
  const server = createServer({ requestTimeout: 0 }, listener).listen(0, '127.0.0.1')
  endStalledClients(server, STALL_MS)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    say: (text: string) => {
      const socket = connect(port, '127.0.0.1')
      socket.on('error', () => {}) // Reset, which is the point.
      socket.write(text)
      return socket
    },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise(done => server.close(done))
    },
  }
}

test('a client that owes the rest of its body is given up', async () => {
  const ends = Promise.withResolvers<string>()
  await using server = await serve(incoming => {
    incoming.resume().on('error', () => ends.resolve('broke off'))
    incoming.on('end', () => ends.resolve('whole'))
  })
  const client = server.say('PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf')
  await Promise.all([once(client.resume(), 'close'), expect(ends.promise).resolves.toBe('broke off')])
})

test('a client that does not take a file is given up, and the file is closed', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'slipway-stalled-'))
  try {
    const path = join(folder, 'blob')
    await writeFile(path, Buffer.alloc(32 * 1024 * 1024))
    const sent = Promise.withResolvers<void>()
    await using server = await serve((_, outgoing) => {
      const body = new FileStream(path)
      sendFile(new Response(body), body, outgoing).then(sent.resolve, sent.reject)
    })
    const client = server.say('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    await sent.promise // It has returned: what it had opened is closed.
    client.destroy()
  } finally {
    await rm(folder, { recursive: true })
  }
})

test('a client that waits for us, or is slow, gets its answer', async () => {
  await using server = await serve(async (incoming, outgoing) => {
    for await (const _ of incoming);
    await sleep(STALL_MS * 3)
    outgoing.write('one ')
    await sleep(STALL_MS * 3)
    outgoing.end('two')
  })
  async function* slowly() {
    for (let left = 6; left > 0; left--) {
      await sleep(STALL_MS / 2)
      yield new Uint8Array(1)
    }
  }
  const body = ReadableStream.from(slowly())
  const answer = await fetch(server.url, { method: 'POST', body, duplex: 'half' } as RequestInit)
  expect(await answer.text()).toBe('one two')
})
