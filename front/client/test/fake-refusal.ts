/** How the fake front says no. */
export const refusal = (code: string, retry = false) => ({ code, message: code.toLowerCase(), retry });
