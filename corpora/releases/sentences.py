"""What is said in corpora whose speakers read the same few sentences, by the codes of their file names."""

RAVDESS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}

CREMA_D = {
    "ieo": "It's eleven o'clock",
    "tie": "That is exactly what happened",
    "iom": "I'm on my way to the meeting",
    "iww": "I wonder what this is about",
    "tai": "The airplane is almost full",
    "mti": "Maybe tomorrow it will be cold",
    "iwl": "I would like a new alarm clock",
    "ith": "I think I have a doctor's appointment",
    "dfa": "Don't forget a jacket",
    "its": "I think I've seen this before",
    "tsi": "The surface is slick",
    "wsi": "We'll stop in a couple of minutes",
}

EMODB = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}

EMOVO = {
    "b1": "Gli operai si alzano presto.",
    "b2": "I vigili sono muniti di pistola.",
    "b3": "La cascata fa molto rumore.",
    "l1": "L'autunno prossimo Tony partirà per la Spagna nella prima metà di ottobre.",
    "l2": "Ora prendo la felpa di là ed esco per fare una passeggiata.",
    "l3": "Un attimo dopo s'è incamminato ... ed è inciampato.",
    "l4": "Vorrei il numero telefonico del Signor Piatti.",
    "n1": "La casa forte vuole col pane.",
    "n2": "La forza trova il passo e l'aglio rosso.",
    "n3": "Il gatto sta scorrendo nella pera.",
    "n4": "Insalata pastasciutta coscia d'agnello limoncello.",
    "n5": "Uno quarantatré dieci mille cinquantasette venti.",
    "d1": "Sabato sera cosa farà?",
    "d2": "Porti con te quella cosa?",
}

CAFE = {
    "1": "Un cheval fou dans mon jardin",
    "2": "Deux ânes aigris au pelage brun",
    "3": "Trois cygnes aveugles au bord du lac",
    "4": "Quatre vieilles truies éléphantesques",
    "5": "Cinq pumas fiers et passionnés",
    "6": "Six ours aimants domestiqués",
}

EMOTALE = {
    "dk1": "Dugen ligger på køleskabet.",
    "dk2": "Det sorte ark papir er placeret deroppe ved siden af tømmerstykket.",
    "dk3": "De bar det bare ovenpå og nu skal de ned igen.",
    "dk4": "Det vil være på det sted, hvor vi altid opbevarer det.",
    "dk5": "Om syv timer er det morgen.",
    "en1": "The tablecloth is lying on the fridge.",
    "en2": "The black sheet of paper is located up there besides the piece of timber.",
    "en3": "They just carried it upstairs and now they are going down again.",
    "en4": "It will be in the place where we always store it.",
    "en5": "In seven hours it will be morning.",
}
