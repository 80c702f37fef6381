import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { pipeline } from 'node:stream'
import { SlipwayError } from '#shared/errors.ts'
import { run } from './run.ts'

const START_MS = 10_000

/** Of one step at once; more are refused. */
const CONNECTIONS = 64

/**
 * OpenSSH's agent with one private key, at a socket of the host: whoever may write to the socket can sign with the key and
 * never sees it. It ends with this object, and with this process, however that ends. Throws `host.command-failed` for what
 * is no key, and where OpenSSH is missing.
 */
export async function openSshAgent(socket: string, key: string): Promise<AsyncDisposable> {
  await using undo = new AsyncDisposableStack()
  const own = `${socket}.own`
  undo.use(await startAgent(own, key))
  undo.use(await openDoor(socket, own))
  const opened = undo.move()
  return { [Symbol.asyncDispose]: () => opened.disposeAsync() }
}

/** The agent answers nobody but its own user and root: this process asks it for whom the socket's mode lets in. */
async function openDoor(socket: string, agent: string): Promise<AsyncDisposable> {
  const open = new Set<Socket>()
  const server = createServer(client => {
    const inner = connect(agent)
    for (const end of [client, inner]) {
      open.add(end)
      end.once('close', () => open.delete(end))
    }
    pipeline(client, inner, client, () => {}) // Whoever leaves ends both.
  })
  server.maxConnections = CONNECTIONS
  server.listen(socket)
  await once(server, 'listening')
  return {
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, 'close')
      server.close()
      for (const end of open) end.destroy()
      await closed
    },
  }
}

async function startAgent(socket: string, key: string): Promise<AsyncDisposable> {
  // The agent ends with the command that it runs, and that one with its input, which is ours.
  const child = spawn('ssh-agent', ['-a', socket, 'sh', '-c', 'echo ready; exec cat'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  const ended = once(child, 'close').catch(() => {}) // That it could not run is told below.
  const agent = {
    [Symbol.asyncDispose]: async () => {
      child.stdin.end()
      await ended
    },
  }
  try {
    const signal = AbortSignal.timeout(START_MS)
    await Promise.race([once(child.stdout, 'data', { signal }), once(child, 'close', { signal })])
    const text = key.endsWith('\n') ? key : `${key}\n`
    await run('env', [`SSH_AUTH_SOCK=${socket}`, 'ssh-add', '-q', '-'], { input: text, timeoutMs: START_MS })
    return agent
  } catch (cause) {
    await agent[Symbol.asyncDispose]()
    const message =
      'The key for ssh could not be loaded: it has to be a private key without a passphrase, and the host needs OpenSSH.'
    throw new SlipwayError('host.command-failed', message, { cause })
  }
}
