import { ZodError } from 'zod'
import type { HookKind } from '#shared/domain/hook.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { ForgeEvent, HeaderReader } from './event.ts'
import { githubEvent } from './github.ts'
import { gitlabEvent } from './gitlab.ts'
import { signedEvent } from './signed-push.ts'

const EVENTS: Record<HookKind, (headers: HeaderReader, payload: unknown) => ForgeEvent> = {
  github: githubEvent,
  gitea: githubEvent,
  gitlab: gitlabEvent,
  signed: signedEvent,
}

/** What a delivery says, once it is known to be the forge's. Errors: `hook.payload-invalid`. */
export function readEvent(kind: HookKind, headers: HeaderReader, body: Uint8Array): ForgeEvent {
  try {
    return EVENTS[kind](headers, payloadOf(headers, new TextDecoder().decode(body)))
  } catch (cause) {
    const message = `The delivery is not what a ${kind} hook gets: ${whatIsWrong(kind, cause)}.`
    throw new SlipwayError('hook.payload-invalid', message, { cause })
  }
}

/** Of a signed one we know the form, which who sends it wrote; what forges send is right, unless it is no JSON. */
function whatIsWrong(kind: HookKind, cause: unknown): string {
  if (kind !== 'signed') return 'set the content type to application/json'
  if (!(cause instanceof ZodError)) return 'the body is not JSON'
  const [issue] = cause.issues
  return `${issue?.path.join('.') || 'the body'}: ${issue?.message} (docs/webhooks.md, "Signing by yourself")`
}

/** GitHub and Gitea can send a form with JSON in it. */
function payloadOf(headers: HeaderReader, text: string): unknown {
  const isForm = headers('content-type')?.startsWith('application/x-www-form-urlencoded') ?? false
  return JSON.parse(isForm ? (new URLSearchParams(text).get('payload') ?? '') : text)
}
