import { type ApiClient, ApiError } from '#infra/local/api-client.ts'

export async function logOf(api: ApiClient, id: string, query = ''): Promise<string> {
  let text = ''
  for await (const piece of api.text(`/v1/containers/${id}/logs${query}`)) text += piece
  return text
}

/** The code of the problem that a call ends in. */
export async function codeOf(attempt: Promise<unknown>): Promise<string> {
  const error = await attempt.then(
    () => undefined,
    reason => reason,
  )
  return error instanceof ApiError ? error.problem.code : 'no problem'
}
