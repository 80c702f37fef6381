import { connect, type Socket } from 'node:net'
import { inNetns } from './netns.ts'

/**
 * A connection to the loopback of a network namespace. The socket is made, and so belongs to the namespace, while this thread is
 * in there: a look-up that answers at once keeps Node from putting that off to a later turn of its loop.
 */
export function connectInNetns(netns: string, port: number): Socket {
  return inNetns(netns, () =>
    connect({
      ...{ host: 'localhost', port, autoSelectFamily: false },
      lookup: (_name, _options, answer) => answer(null, '127.0.0.1', 4),
    }),
  )
}
