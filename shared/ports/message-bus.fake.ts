import { SlipwayError } from '../errors.ts'
import { MAX_PENDING, type Message, type MessageBus, type Subscription, type WorkQueue } from './message-bus.ts'

/** A bus within one process, for tests and simulations. Delivers in the order of publishing; loses nothing below the bound. */
export function fakeMessageBus(): MessageBus {
  const inboxes = new Set<Inbox>()
  const queues = new Map<string, { waiting: Waiting[]; known: Set<string> }>()
  const ensure = ({ name }: WorkQueue) => {
    const queue = queues.get(name) ?? { waiting: [], known: new Set<string>() }
    queues.set(name, queue)
    return queue
  }
  let isClosed = false
  return {
    isConnected: () => !isClosed,
    publish: async (subject, body) => {
      for (const inbox of inboxes) if (inbox.matches(subject)) inbox.push({ subject, body })
    },
    subscribe: async pattern => {
      const inbox = openInbox(pattern, () => inboxes.delete(inbox))
      inboxes.add(inbox)
      return inbox
    },
    enqueue: async (queue, body, messageId) => {
      const { waiting, known } = ensure(queue)
      if (known.has(messageId)) return
      known.add(messageId)
      waiting.push({ body, notBefore: 0 })
      if (waiting.length > queue.maxMessages) waiting.shift()
    },
    ensureQueue: async queue => void ensure(queue),
    take: async ({ name }, waitMs) => {
      const deadline = Date.now() + waitMs
      for (;;) {
        const waiting = queues.get(name)?.waiting
        if (!waiting) throw new SlipwayError('bus.unavailable', `There is no queue ${name}.`)
        const at = waiting.findIndex(({ notBefore }) => notBefore <= Date.now())
        const [next] = at === -1 ? [] : waiting.splice(at, 1)
        if (next) {
          const passOn = (afterMs: number) => void waiting.push({ ...next, notBefore: Date.now() + afterMs })
          return { body: next.body, done: () => {}, passOn }
        }
        if (Date.now() >= deadline) return undefined
        await new Promise(resolve => setTimeout(resolve, 20))
      }
    },
    close: async () => {
      isClosed = true
      for (const inbox of inboxes) await inbox[Symbol.asyncDispose]()
    },
  }
}

interface Waiting {
  body: Uint8Array
  notBefore: number
}

interface Inbox extends Subscription {
  matches(subject: string): boolean
  push(message: Message): void
}

function openInbox(pattern: string, onEnd: () => void): Inbox {
  const waiting: Message[] = []
  let isOver = false
  let wake = () => {}
  async function* messages(): AsyncGenerator<Message, void> {
    while (true) {
      const next = waiting.shift()
      if (next) yield next
      else if (isOver) return
      else await new Promise<void>(resolve => (wake = resolve))
    }
  }
  return {
    matches: subject => matchesSubject(pattern, subject),
    push: message => {
      waiting.push(message)
      if (waiting.length > MAX_PENDING) waiting.shift()
      wake()
    },
    [Symbol.asyncIterator]: messages,
    [Symbol.asyncDispose]: async () => {
      isOver = true
      onEnd()
      wake()
    },
  }
}

/** NATS' rule: `*` is one word, `>` at the end is one or more. */
function matchesSubject(pattern: string, subject: string): boolean {
  const wanted = pattern.split('.')
  const words = subject.split('.')
  if (wanted.at(-1) === '>') {
    return words.length >= wanted.length && wanted.slice(0, -1).every((word, at) => word === '*' || word === words[at])
  }
  return words.length === wanted.length && wanted.every((word, at) => word === '*' || word === words[at])
}
