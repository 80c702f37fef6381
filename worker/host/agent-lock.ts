import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import { SlipwayError } from '#shared/errors.ts'

/** One agent a data folder, and one an instance: an abstract socket of its name, which the kernel frees however the process ends. */
export async function lockFolder(folder: string): Promise<Server> {
  const name = createHash('sha256').update(folder).digest('hex').slice(0, 32)
  const server = createServer(socket => socket.destroy())
  server.listen({ path: `\0slipway-agent-${name}` })
  try {
    await once(server, 'listening')
  } catch (cause) {
    throw new SlipwayError(
      'host.kernel-refused',
      `Another agent works on ${folder}: stop it, or give this one a folder of its own.`,
      { cause },
    )
  }
  return server.unref()
}
